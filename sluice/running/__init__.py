"""``sluice run``: all duties of a zone, until stopped.

``duties`` says what a zone has to do, ``agenda`` when (both pure: the time is passed
in), ``children`` runs it, ``journal`` tells, ``loop`` ties them together. Every duty
is one of the commands that an operator can call by hand, in a process of its own: a
duty that fails, leaks or is stopped touches no other.
"""

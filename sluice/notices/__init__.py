"""Notices of holds, gaps and silence, by syslog and webhook.

``subjects`` says what there is to tell, ``plan`` what of it is told now (pure: the time and
what was told are passed in), ``message`` in which words, ``syslog`` and ``webhook`` carry it,
``state`` remembers in the ledger what was told, ``deliver`` ties them together. Whoever
calls has done its work by then: a notice that cannot be delivered delays nothing, is tried
again with growing pauses, and shows in status, metrics and an alert.
"""

"""``sluice check``: whether a zone has what it needs, each finding with its remedy.

Not to be confused with the formats' ``check``, which looks at the content of a tree.
To add a check, write a module with one function from ``Site`` to findings, pure judgement
apart from what gathers its facts, and name it in ``checks.CHECKS``.
"""

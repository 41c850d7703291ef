"""The main job, end to end, on this machine: ``make demo``.

One stage, two zones and an air gap between them (``stage``); one module for each part, which
brings an upstream and a real client of its kind: ``yum``, ``maven``, ``images``.
"""

"""What Lightning has, by its own names, in one mapping of `finetune`: its loggers, callbacks, profilers, arguments.

    names      the names and the types of their values, or why one cannot be set; no torch
    arguments  what is wrong with a mapping, and whether a resumed run learns what it did before; no torch
    parts      a mapping as parts of a trainer
    averaging  weight averaging
    stopping   an early end
    logs       loggers that go on where the run does
    quiet      what Lightning says and does not apply here

Tests hold the tables equal to the installed release.
"""

"""The parts of `mutate_inputs.py`: what is mutated, how, and the processes that decode it.

targets     sound inputs with their decoders, and what may come of a changed one
mutate      changes of bytes and of text, from a seed
watched     a process that decodes; what ends, hangs or fills it is found by the seed
"""

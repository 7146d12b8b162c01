"""Run folders as arms of a comparison: a run is one seed of an arm. Loads no torch.

Reads what a run recorded, manifests of its sets to find them, and an encoder's file only to hash it.

    run folder -> run, encoder, sets -> identity -> grouping, naming -> arms -> differences, warnings
                                                                             +-> pairs, target

- `run`: a run folder as a comparison reads it.
- `encoder`: what a run began with, by the options of its pretraining.
- `identity`: the options that decide what a run learns, in comparable form.
- `grouping`: which runs are seeds of one arm.
- `naming`: what an arm is called.
- `warnings`: what limits their comparison, in whole sentences.
- `differences`: in which factors arms differ.
- `pairs`: which arms are compared with each other.
- `sets`: where the sets of a run are, found by identity.
- `target`: the set that all are compared on.
"""

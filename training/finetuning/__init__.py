"""`depthstream finetune`: train the depth network on a set with depth, and record every epoch.

    options -> finetune -+- training.depth_sets: training and validation subset
                         +- depth_data: their loaders
                         +- batches: ranks x accumulation x micro-batch
                         +- resume: the checkpoint to continue from
                         +- Lightning trainer with the callbacks record, panels, best, and those of
                            training.checkpoint and training.profiling -> run folder

- `finetune`: the command; builds network, loaders, callbacks and trainer, and runs them.
- `depth_data`: the loaders of the training and the validation subset.
- `check`: what is wrong with the options, found without torch.
- `batches`: how a global batch is split; `memory`: what its parts take; `micro_batch`: which part fits a device, tried.
- `step`: what the options mean for a training step; `objective`: the loss, by what the depth of the set means.
- `encoder_name`: the encoder's name where the options leave it out.
- `record`: curves.csv and metrics.json, written after each epoch; `trace`: where the run comes from.
- `best`: best.ckpt, the weights of the best epoch.
- `panels`: image, truth, prediction and error of a few samples, for TensorBoard.
- `resume`: the newest checkpoint of a run, and whether it is the same run; `recorded_sets`: those of a finished one.
"""

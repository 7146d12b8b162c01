"""`depthstream finetune`: train the depth network on a set with metric depth, and record every epoch.

    options -> finetune -+- depth_data: training and validation loaders
                         +- batches: ranks x accumulation x micro-batch
                         +- resume: the checkpoint to continue from
                         +- Lightning trainer with the callbacks record, panels, best, and those of
                            training.checkpoint and training.profiling -> run folder

- `finetune`: the command; builds network, loaders, callbacks and trainer, and runs them.
- `depth_data`: the training and the validation set, checked for metric depth, and their loaders.
- `batches`: how a global batch is split so that its parts fit a device's memory.
- `encoder_name`: the encoder's name where the options leave it out.
- `record`: curves.csv and metrics.json, written after each epoch; the progress bar.
- `best`: best.ckpt, the weights of the best epoch.
- `panels`: image, truth, prediction and error of a few samples, for TensorBoard.
- `resume`: the newest checkpoint of a run, and whether it is the same run.
"""

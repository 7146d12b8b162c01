"""`depthstream finetune`: train the depth network on a set with depth, and record every epoch.

    options -> finetune -+- depth_data: training and validation loaders
                         +- batches: ranks x accumulation x micro-batch
                         +- resume: the checkpoint to continue from
                         +- Lightning trainer with the callbacks record, panels, best, and those of
                            training.checkpoint and training.profiling -> run folder

- `finetune`: the command; builds network, loaders, callbacks and trainer, and runs them.
- `depth_data`: the training and the validation set, checked for metric depth, and their loaders.
- `check`: what is wrong with the options, found without torch.
- `batches`: how a global batch is split; `memory`: what its parts take; `micro_batch`: which part fits a device, tried.
- `step`: what the options mean for a training step; `camera`: the focal length that the network learns for.
- `encoder_name`: the encoder's name where the options leave it out.
- `record`: curves.csv and metrics.json, written after each epoch.
- `best`: best.ckpt, the weights of the best epoch.
- `panels`: image, truth, prediction and error of a few samples, for TensorBoard.
- `objective`: the loss, by what the depth of the set means; `crops`: images that are smaller than the crop.
- `quiet`: messages of Lightning that do not apply here.
- `resume`: the newest checkpoint of a run, and whether it is the same run.
"""

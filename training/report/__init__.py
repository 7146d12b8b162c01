"""`depthstream compare`: several runs (arms) and the baselines, compared in one self-contained HTML page.

    run folders -> arms -> measuring: runs and baselines -> judging: contrasts -> comparison -> page: HTML
                                                        +- standing           +- examples

- `compare`: the command; everything in order.
- `check`: what is wrong with its options, found without torch.
- `arms`: run folders, grouped into arms; what these differ in; where the sets are.
- `measuring`: evaluations of runs and baselines, kept in the run folders.
- `seen`: what runs had seen of the images that they are compared on.
- `comparison`: the values that a comparison consists of.
- `contrast`: whether an arm is better than another: ratio, interval, relation, guards, several contrasts.
- `variance`: the parts of the variance of a difference between arms, and its degrees of freedom.
- `simulation`: how often that errs or finds nothing.
- `judging`: contrasts from the evaluations of runs.
- `verdict`: contrasts in words.
- `standing`: whether an arm beats a baseline, in numbers and in sentences.
- `examples`, `gallery`: choice of the example images; painted truth, predictions and errors.
- `page`, `tables`: values into report.html and report.css.
- `charts`: curves, strips and intervals, without script.
"""

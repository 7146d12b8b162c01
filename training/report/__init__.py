"""`depthstream compare`: several runs (arms) and the baselines, compared in one self-contained HTML page.

    run folders -> arms -> compare: evaluate, cached -> comparison: all values -> page: HTML
                                                        +- standing: arm against baseline
                                                        +- examples: which images, painted

- `compare`: the command; evaluates arms and baselines, or takes cached evaluations, and writes the page.
- `arms`: run folders as arms of a comparison, and which of them can be compared.
- `comparison`: the values that a comparison consists of.
- `contrast`: whether an arm is better than another: ratio, interval, relation, guards, several contrasts.
- `variance`: the parts of the variance of a difference between arms, and its degrees of freedom.
- `simulation`: how often that errs or finds nothing.
- `standing`: whether an arm beats a baseline, in numbers and in sentences.
- `examples`: choice of the example images, painted truth, predictions and errors.
- `page`: values into report.html and report.css.
- `charts`: line charts as SVG.
- `strip`: one track per arm or baseline, with a dot for each scene.
"""

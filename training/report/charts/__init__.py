"""Charts of a report, without script: SVG, or numbers for the template's grids. They draw numbers, whatever they mean.

- `axis`: values to pixels, round ticks.
- `styles`: as many colours, markers and dashes as there are arms and runs, in both themes.
- `labels`: places for texts, so that none covers another or a point.
- `line_chart`: curves by epoch.
- `strip`: one track for each arm and baseline, with a dot for each run.
- `forest`: one track for each contrast, with its interval.
"""

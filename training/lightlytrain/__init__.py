"""What LightlyTrain 0.18 takes and needs, known without importing it: so that what is wrong is told in a second.

    names      the names in each mapping of arguments
    models     models by package
    methods    what each method needs: kind of model, images a device, a teacher
    weights    the file that a model starts from, and where LightlyTrain looks for it
    arguments  where each argument of `lightly_train.pretrain` comes from, and what is wrong with them

Tests hold each table equal to the installed release.
"""

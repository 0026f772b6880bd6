"""What other libraries, papers and habits call things that fastbp has under another name; for suggestions alone."""

from __future__ import annotations

from collections.abc import Iterable

_GLOROT, _HE, _LECUN = (tuple(f"{kind}_{how}" for how in ("uniform", "normal")) for kind in ("glorot", "he", "lecun"))
_CLIP = ("clipnorm", "global_clipnorm", "clipvalue")

# By the name in lower case without signs between words. A name may mean several things: only those count that are
# valid where it stands. An empty entry is a thing that fastbp lacks, though its name resembles one that it has.
_FOREIGN: dict[str, tuple[str, ...]] = {
    # activations
    "linear": ("identity", "Dense"),
    "none": ("identity",),
    "id": ("identity",),
    "logits": ("identity",),
    "logistic": ("sigmoid", "binary_cross_entropy"),
    "expit": ("sigmoid",),
    "swish": ("silu",),
    "hardsilu": ("hard_swish",),
    "lrelu": ("leaky_relu",),
    "prelu": ("leaky_relu",),
    "rrelu": ("leaky_relu",),
    "rectifier": ("relu",),
    "rectified": ("relu",),
    "geluapproximate": ("gelu_tanh",),
    "gelunew": ("gelu_tanh",),
    "logsoftmax": ("softmax",),
    "tansig": ("tanh",),
    "logsig": ("sigmoid",),
    "purelin": ("identity",),
    **dict.fromkeys(("glu", "geglu", "swiglu", "hardtanh", "hardsigmoid", "logsigmoid", "softmin", "tanhshrink"), ()),
    **dict.fromkeys(("softshrink", "hardshrink", "exponential", "exp", "sin", "sparsemax", "relu2", "squarerelu"), ()),
    # losses
    **dict.fromkeys(("meansquarederror", "mseloss", "l2", "l2loss", "squarederror", "squaredloss"), ("mse", "rmse")),
    **dict.fromkeys(("meanabsoluteerror", "l1", "l1loss", "absoluteerror"), ("mae",)),
    **dict.fromkeys(
        ("categoricalcrossentropy", "sparsecategoricalcrossentropy", "crossentropyloss", "softmaxcrossentropy", "ce")
        + ("nll", "nllloss", "logloss", "negativeloglikelihood", "xent", "multinomial", "softmaxloss"),
        ("cross_entropy", "log_loss"),
    ),
    **dict.fromkeys(
        ("binarycrossentropy", "bce", "bceloss", "bcewithlogits", "bcewithlogitsloss", "sigmoidcrossentropy"),
        ("binary_cross_entropy",),
    ),
    **dict.fromkeys(("smoothl1", "smoothl1loss", "huberloss"), ("huber",)),
    **dict.fromkeys(("pinball", "pinballloss", "quantileloss"), ("quantile",)),
    **dict.fromkeys(("kl", "kld", "kldiv", "kldivloss", "kullbackleibler"), ("kl_divergence",)),
    **dict.fromkeys(("focal", "focalloss"), ("binary_focal", "categorical_focal")),
    "binaryfocalcrossentropy": ("binary_focal",),
    "categoricalfocalcrossentropy": ("categorical_focal",),
    "poissonnll": ("poisson",),
    "poissonnllloss": ("poisson",),
    "gaussiannllloss": ("gaussian_nll",),
    "multimarginloss": ("categorical_hinge",),
    "logcoshloss": ("log_cosh",),
    **dict.fromkeys(("msle", "meansquaredlogarithmicerror", "squaredhinge", "cosinesimilarity", "ctc", "triplet"), ()),
    **dict.fromkeys(("mape", "meanabsolutepercentageerror"), ("mape", "mean_absolute_percentage_error")),
    # metrics
    **dict.fromkeys(
        ("acc", "binaryaccuracy", "categoricalaccuracy", "sparsecategoricalaccuracy", "accuracyscore"), ("accuracy",)
    ),
    **dict.fromkeys(
        ("topk", "top5", "top5accuracy", "topkcategoricalaccuracy", "sparsetopkcategoricalaccuracy"),
        ("top_k_accuracy",),
    ),
    "mse": ("mse", "rmse"),
    **dict.fromkeys(("rocauc", "auroc", "rocaucscore"), ("auc",)),
    **dict.fromkeys(("r2score", "rsquared", "coefficientofdetermination"), ("r2",)),
    **dict.fromkeys(("rootmeansquarederror", "rmsd"), ("rmse",)),
    "f1score": ("f1",),
    # initializers
    "xavier": _GLOROT,
    "xavieruniform": _GLOROT[:1],
    "xaviernormal": _GLOROT[1:],
    "kaiming": _HE,
    "msra": _HE,
    "kaiminguniform": _HE[:1],
    "kaimingnormal": _HE[1:],
    "lecun": _LECUN,
    "zero": ("zeros",),
    **dict.fromkeys(("normal", "gaussian", "randn"), ("random_normal",)),
    **dict.fromkeys(("uniform", "randomuniform", "rand", "ones", "one", "truncatednormal", "truncnormal"), ()),
    # optimizers
    **dict.fromkeys(("gd", "gradientdescent", "momentum", "nesterov", "nag", "sgdm", "stochasticgradientdescent"), ("sgd",)),
    **dict.fromkeys(("adamwithdecay", "decoupledadam"), ("adamw",)),
    **dict.fromkeys(("rprop", "irprop", "adamax", "asgd", "lars", "radam", "adabelief", "adafactor", "ftrl"), ()),
    **dict.fromkeys(("lbfgs", "bfgs", "cg", "newton", "yogi", "adan", "sophia", "ranger", "lookahead", "adahessian"), ()),
    # layers and callbacks
    **dict.fromkeys(("fullyconnected", "fc", "innerproduct", "denselayer", "affine"), ("Dense",)),
    **dict.fromkeys(("batchnorm1d", "batchnormalization", "bn"), ("BatchNorm",)),
    **dict.fromkeys(("layernormalization", "ln"), ("LayerNorm",)),
    "embedding": ("ColumnEmbedding",),
    **dict.fromkeys(("relu", "tanh", "sigmoid", "softmax", "gelu", "silu", "mish"), ("Activation",)),
    **dict.fromkeys(("skip", "skipconnection", "residualblock", "add"), ("Residual",)),
    **dict.fromkeys(("model", "network", "mlp", "net"), ("Sequential",)),
    "loadmodel": ("load",),
    "lrfinder": ("find_learning_rate",),
    "lrfind": ("find_learning_rate",),
    "backup": ("BackupAndRestore",),
    "history": ("History",),
    "cosineannealing": ("CosineDecay",),
    "cosineannealinglr": ("CosineDecay",),
    "steplr": ("StepDecay",),
    "onecyclelr": ("OneCycle",),
    # arguments and options
    **dict.fromkeys(("lr", "eta", "stepsize", "learningrateinit", "rate"), ("learning_rate", "rate")),
    **dict.fromkeys(("wd", "decay", "l2penalty", "alpha"), ("weight_decay", "alpha")),
    **dict.fromkeys(("eps",), ("epsilon",)),
    **dict.fromkeys(("beta1", "b1"), ("beta_1",)),
    **dict.fromkeys(("beta2", "b2"), ("beta_2",)),
    "betas": ("beta_1", "beta_2"),
    "rho": ("rho", "alpha"),
    "mu": ("momentum",),
    **dict.fromkeys(("clip", "clipnorm", "gradclip", "maxgradnorm", "clipgrad", "gradientclip"), ("clip", *_CLIP)),
    **dict.fromkeys(("accumulationsteps", "accumulategradbatches"), ("gradient_accumulation_steps",)),
    **dict.fromkeys(("outfeatures", "outputdim", "nunits", "width", "size", "neurons", "n"), ("units", "layers")),
    **dict.fromkeys(("infeatures", "inputdim", "inputshape", "nfeatures", "numfeatures"), ("input_size",)),
    **dict.fromkeys(("hidden", "hiddenlayers", "hiddensizes", "hiddenlayersizes", "architecture", "nlayers"), ("layers",)),
    "bias": ("use_bias", "bias"),
    **dict.fromkeys(("init", "initializer", "weightinit", "kernelinit", "weightinitializer"), ("kernel_initializer",)),
    "biasinit": ("bias_initializer",),
    **dict.fromkeys(("kernelregularizer", "regularizer", "regularization"), ("kernel_regularizer", "weight_decay")),
    **dict.fromkeys(("act", "activationfn", "activationfunction", "nonlinearity"), ("activation",)),
    **dict.fromkeys(("p", "prob", "droprate", "dropoutrate", "dropoutprob"), ("rate", "dropout")),
    **dict.fromkeys(("batch", "bs", "minibatch", "minibatchsize"), ("batch_size",)),
    **dict.fromkeys(("epoch", "nepoch", "nepochs", "numepochs", "nbepoch", "iterations", "maxiter", "maxepochs"), ("epochs",)),
    **dict.fromkeys(("val", "valsplit", "validationfraction", "validationsize", "testsize"), ("validation_split",)),
    **dict.fromkeys(("valdata", "evalset", "validationset"), ("validation_data",)),
    **dict.fromkeys(("es", "earlystop", "patience", "stopearly"), ("early_stopping",)),
    **dict.fromkeys(("njobs", "workers", "nthreads", "numthreads", "jobs", "cores", "cpus"), ("n_threads", "threads")),
    **dict.fromkeys(("randomstate", "randomseed", "rngseed", "manualseed"), ("seed",)),
    **dict.fromkeys(("criterion", "objective", "lossfn", "lossfunction"), ("loss",)),
    **dict.fromkeys(("opt", "optim", "solver"), ("optimizer",)),
    **dict.fromkeys(("label", "labels", "y", "ycolumn", "response", "targetcolumn"), ("target",)),
    **dict.fromkeys(("exclude", "ignore", "skipcolumns", "dropcolumn", "dropcolumns"), ("drop",)),
    **dict.fromkeys(("cat", "categories", "catfeatures", "categoricalfeatures"), ("categorical",)),
    **dict.fromkeys(("lrschedule", "scheduler", "lrscheduler", "learningrateschedule"), ("schedule",)),
    **dict.fromkeys(("out", "outfile", "savepath", "saveto", "save", "model"), ("output",)),
    **dict.fromkeys(("normalize", "scale", "scaler", "standardize"), ("scaling",)),
    **dict.fromkeys(("silent", "noprogress"), ("quiet",)),
    "bn": ("batch_norm", "BatchNorm"),
    "batchnormalization": ("batch_norm", "BatchNorm"),
    "classification": ("task",),
    "figure": ("plot",),
    # commands
    **dict.fromkeys(("fit", "learn"), ("train",)),
    **dict.fromkeys(("infer", "inference", "test", "score", "evaluate", "apply"), ("predict",)),
    **dict.fromkeys(("convert", "onnx"), ("export",)),
    **dict.fromkeys(("benchmark", "speed"), ("bench",)),
    **dict.fromkeys(("compile", "prepare"), ("warmup",)),
    **dict.fromkeys(("version", "doctor", "env", "about"), ("info",)),
}

# Hooks of other libraries' callbacks that fit never calls, and what to use instead.
_PER_STEP = ": steps run in slices, many to one call, so use on_slice_end, which follows each, or on_epoch_end"
_NO_TEST = ": validation ends before on_epoch_end, whose logs have its results; use that"
_NO_PREDICT = ": predict and evaluate call no callbacks; use code around them"
_HOOKS = {
    **{f"on_{what}batch_{when}": _PER_STEP for what in ("", "train_") for when in ("begin", "end", "start")},
    **{f"on_{what}{when}": _PER_STEP for what in ("step", "iteration") for when in ("", "_begin", "_end", "_start")},
    **{f"on_test_{what}{when}": _NO_TEST for what in ("", "batch_") for when in ("begin", "end")},
    **{f"on_validation_{what}{when}": _NO_TEST for what in ("", "epoch_", "batch_") for when in ("begin", "start", "end")},
    **{f"on_predict_{what}{when}": _NO_PREDICT for what in ("", "batch_") for when in ("begin", "start", "end")},
    **{name: ": did you mean 'on_train_begin'?" for name in ("on_fit_begin", "on_fit_start", "on_train_start")},
    **{name: ": did you mean 'on_train_end'?" for name in ("on_fit_end", "on_training_end", "on_train_finish")},
    **{name: ": did you mean 'on_epoch_begin'?" for name in ("on_epoch_start", "on_train_epoch_start")},
    **{name: ": did you mean 'on_epoch_end'?" for name in ("on_epoch_finish", "on_train_epoch_end", "on_epoch_ends")},
    "on_training_begin": ": did you mean 'on_train_begin'?",
    "on_training_start": ": did you mean 'on_train_begin'?",
    "on_epochs_end": ": did you mean 'on_epoch_end'?",
    "on_backward": _PER_STEP,
    "on_after_backward": _PER_STEP,
}


def bare(name: str) -> str:
    """A name in lower case without signs between words: "Leaky_ReLU" and "leakyrelu" are one."""
    return "".join(character for character in name.lower() if character.isalnum())


def known_as(name: str, valid: Iterable[str]) -> list[str] | None:
    """The valid names of what others call so; None if it is not known, empty if nothing valid is meant.

    >>> known_as("xavier", ["glorot_uniform", "he_normal"]), known_as("rprop", ["rmsprop"]), known_as("adma", ["adam"])
    (['glorot_uniform'], [], None)
    """
    valid = list(valid)
    if same := [each for each in valid if bare(each) == bare(name)]:
        return same
    found = _FOREIGN.get(bare(name))
    return None if found is None else [each for each in found if each in valid]


def never_called(hook: str) -> str:
    """Why fit never calls a hook that other libraries have, with the remedy; empty for other names.

    >>> never_called("on_epoch_start"), never_called("on_epoch_end")
    (", which is never called: did you mean 'on_epoch_begin'?", '')
    """
    remedy = _HOOKS.get(hook, "")
    return f", which is never called{remedy}" if remedy else ""

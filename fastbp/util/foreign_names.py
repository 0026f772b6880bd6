"""What other libraries, papers and habits call things that fastbp has under another name; for suggestions alone."""

from __future__ import annotations

from collections.abc import Iterable

# What others call a thing, in lower case without signs between words, and its names here. A name may mean several
# things: only those count that are valid where it stands. An empty second column is what fastbp lacks, though its name
# resembles one that it has.
_TABLE = (
    # activations
    ("linear", "identity Dense"),
    ("none id logits purelin", "identity"),
    ("logistic", "sigmoid binary_cross_entropy"),
    ("expit logsig", "sigmoid"),
    ("swish", "silu"),
    ("hardsilu", "hard_swish"),
    ("lrelu prelu rrelu", "leaky_relu"),
    ("rectifier rectified", "relu"),
    ("geluapproximate gelunew", "gelu_tanh"),
    ("logsoftmax", "softmax"),
    ("tansig", "tanh"),
    ("glu geglu swiglu hardtanh hardsigmoid logsigmoid softmin tanhshrink softshrink hardshrink exponential exp", ""),
    ("sin sparsemax relu2 squarerelu", ""),
    # losses
    ("meansquarederror mseloss l2 l2loss squarederror squaredloss", "mse rmse"),
    ("crossentropy", "cross_entropy log_loss"),
    ("meanabsoluteerror l1 l1loss absoluteerror", "mae"),
    ("categoricalcrossentropy sparsecategoricalcrossentropy crossentropyloss", "cross_entropy log_loss"),
    ("softmaxcrossentropy ce nll nllloss logloss negativeloglikelihood xent multinomial", "cross_entropy log_loss"),
    ("softmaxloss", "cross_entropy log_loss"),
    ("binarycrossentropy bce bceloss bcewithlogits bcewithlogitsloss sigmoidcrossentropy", "binary_cross_entropy"),
    ("smoothl1 smoothl1loss huberloss", "huber"),
    ("pinball pinballloss quantileloss", "quantile"),
    ("kl kld kldiv kldivloss kullbackleibler", "kl_divergence"),
    ("focal focalloss", "binary_focal categorical_focal"),
    ("binaryfocalcrossentropy", "binary_focal"),
    ("categoricalfocalcrossentropy", "categorical_focal"),
    ("poissonnll poissonnllloss", "poisson"),
    ("gaussiannllloss", "gaussian_nll"),
    ("multimarginloss", "categorical_hinge"),
    ("logcoshloss", "log_cosh"),
    ("msle meansquaredlogarithmicerror squaredhinge cosinesimilarity ctc triplet", ""),
    ("mape meanabsolutepercentageerror", "mape mean_absolute_percentage_error"),
    # metrics
    ("acc binaryaccuracy categoricalaccuracy sparsecategoricalaccuracy accuracyscore", "accuracy"),
    ("topk top5 top5accuracy topkcategoricalaccuracy sparsetopkcategoricalaccuracy", "top_k_accuracy"),
    ("mse", "mse rmse"),
    ("rocauc auroc rocaucscore", "auc"),
    ("r2score rsquared coefficientofdetermination", "r2"),
    ("rootmeansquarederror rmsd", "rmse"),
    ("f1score", "f1"),
    ("prauc ap averageprecisionscore", "average_precision"),
    # initializers
    ("xavier", "glorot_uniform glorot_normal"),
    ("xavieruniform", "glorot_uniform"),
    ("xaviernormal", "glorot_normal"),
    ("kaiming msra", "he_uniform he_normal"),
    ("kaiminguniform", "he_uniform"),
    ("kaimingnormal", "he_normal"),
    ("lecun", "lecun_uniform lecun_normal"),
    ("zero", "zeros"),
    ("normal gaussian randn", "random_normal"),
    ("uniform randomuniform rand ones one truncatednormal truncnormal", ""),
    # optimizers
    ("gd gradientdescent momentum nesterov nag sgdm stochasticgradientdescent", "sgd"),
    ("adamwithdecay decoupledadam", "adamw"),
    ("rprop irprop adamax asgd lars radam adabelief adafactor ftrl lbfgs bfgs cg newton yogi adan sophia ranger", ""),
    ("lookahead adahessian", ""),
    # layers and callbacks
    ("fullyconnected fc innerproduct denselayer affine", "Dense"),
    ("batchnorm1d", "BatchNorm"),
    ("layernormalization ln", "LayerNorm"),
    ("embedding", "ColumnEmbedding"),
    ("relu tanh sigmoid softmax gelu silu mish", "Activation"),
    ("skip skipconnection residualblock add", "Residual"),
    ("network mlp net", "Sequential"),
    ("loadmodel", "load"),
    ("lrfinder lrfind", "find_learning_rate"),
    ("backup", "BackupAndRestore"),
    ("history", "History"),
    ("cosineannealing cosineannealinglr", "CosineDecay"),
    ("steplr", "StepDecay"),
    ("onecyclelr", "OneCycle"),
    # arguments and options
    ("lr eta stepsize learningrateinit rate", "learning_rate rate"),
    ("wd decay l2penalty alpha", "weight_decay alpha"),
    ("eps", "epsilon"),
    ("beta1 b1", "beta_1"),
    ("beta2 b2", "beta_2"),
    ("betas", "beta_1 beta_2"),
    ("rho", "rho alpha"),
    ("mu", "momentum"),
    ("clip clipnorm gradclip maxgradnorm clipgrad gradientclip", "clip clipnorm global_clipnorm clipvalue"),
    ("accumulationsteps accumulategradbatches", "gradient_accumulation_steps"),
    ("outfeatures outputdim nunits width size neurons n", "units layers"),
    ("infeatures inputdim inputshape nfeatures numfeatures", "input_size"),
    ("hidden hiddenlayers hiddensizes hiddenlayersizes architecture nlayers", "layers"),
    ("bias", "use_bias bias"),
    ("init initializer weightinit kernelinit weightinitializer", "kernel_initializer"),
    ("biasinit", "bias_initializer"),
    ("kernelregularizer regularizer regularization", "kernel_regularizer weight_decay"),
    ("act activationfn activationfunction nonlinearity", "activation"),
    ("p prob droprate dropoutrate dropoutprob", "rate dropout"),
    ("batch bs minibatch minibatchsize", "batch_size"),
    ("epoch nepoch nepochs numepochs nbepoch iterations maxiter maxepochs", "epochs"),
    ("val valsplit validationfraction validationsize testsize", "validation_split"),
    ("valdata evalset validationset", "validation_data"),
    ("es earlystop patience stopearly", "early_stopping"),
    ("njobs workers nthreads numthreads jobs cores cpus", "n_threads threads"),
    ("randomstate randomseed rngseed manualseed", "seed"),
    ("criterion objective lossfn lossfunction", "loss"),
    ("opt optim solver", "optimizer"),
    ("label labels y ycolumn response targetcolumn", "target"),
    ("exclude ignore skipcolumns dropcolumn dropcolumns", "drop"),
    ("cat categories catfeatures categoricalfeatures", "categorical"),
    ("lrschedule scheduler lrscheduler learningrateschedule", "schedule"),
    ("out outfile savepath saveto save model", "output"),
    ("normalize scale scaler standardize", "scaling"),
    ("silent noprogress", "quiet"),
    ("bn batchnormalization", "batch_norm BatchNorm"),
    ("classification", "task"),
    ("figure", "plot"),
    # commands
    ("fit learn", "train"),
    ("infer inference test score evaluate apply", "predict"),
    ("convert onnx", "export"),
    ("benchmark speed", "bench"),
    ("compile prepare", "warmup"),
    ("version doctor env about", "info"),
)
_FOREIGN = {name: tuple(ours.split()) for names, ours in _TABLE for name in names.split()}

# Hooks of other libraries' callbacks that fit never calls, and what to use instead.
_PER_STEP = ": steps run in slices, many to one call, so use on_slice_end, which follows each, or on_epoch_end"
_NO_TEST = ": validation ends before on_epoch_end, whose logs have its results; use that"
_NO_PREDICT = ": predict and evaluate call no callbacks; use code around them"
_HOOKS = {
    **{f"on_{what}batch_{when}": _PER_STEP for what in ("", "train_") for when in ("begin", "end", "start")},
    **{f"on_{what}{when}": _PER_STEP for what in ("step", "iteration") for when in ("", "_begin", "_end", "_start")},
    **{f"on_test_{what}{when}": _NO_TEST for what in ("", "batch_") for when in ("begin", "end")},
    **{f"on_validation_{what}{when}": _NO_TEST for what in ("", "epoch_", "batch_") for when in ("start", "end")},
    **{f"on_predict_{what}{when}": _NO_PREDICT for what in ("", "batch_") for when in ("begin", "start", "end")},
    **dict.fromkeys(("on_fit_begin", "on_fit_start", "on_train_start"), ": did you mean 'on_train_begin'?"),
    **dict.fromkeys(("on_fit_end", "on_training_end", "on_train_finish"), ": did you mean 'on_train_end'?"),
    **dict.fromkeys(("on_epoch_start", "on_train_epoch_start"), ": did you mean 'on_epoch_begin'?"),
    **dict.fromkeys(("on_epoch_finish", "on_train_epoch_end", "on_epoch_ends"), ": did you mean 'on_epoch_end'?"),
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
    by_bare: dict[str, list[str]] = {}
    for each in valid:
        by_bare.setdefault(bare(each), []).append(each)
    for key in (bare(name), bare(name).removesuffix("loss")):
        if key in by_bare:
            return by_bare[key]
        if key in _FOREIGN:
            return [each for ours in _FOREIGN[key] for each in by_bare.get(bare(ours), ())]
    return None


def never_called(hook: str) -> str:
    """Why fit never calls a hook that other libraries have, with the remedy; empty for other names.

    >>> never_called("on_epoch_start"), never_called("on_epoch_end")
    (", which is never called: did you mean 'on_epoch_begin'?", '')
    """
    remedy = _HOOKS.get(hook, "")
    return f", which is never called{remedy}" if remedy else ""

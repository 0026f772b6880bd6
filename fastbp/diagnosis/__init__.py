"""Why a network does not learn: layers examined, gradients checked, a learning rate searched."""

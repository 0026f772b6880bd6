"""The layers in all formats, one file per kind of layer; a new file with a table LAYERS is found by itself."""

from importlib import import_module
from pkgutil import iter_modules

from fastbp.exchange.translation import LayerExchange

LAYERS: dict[type, LayerExchange] = {}
for _module in iter_modules(__path__):  # by alphabet
    LAYERS |= import_module(f"{__name__}.{_module.name}").LAYERS

"""Functions that become part of every entry that calls them, and have no machine code of their own.

Numba optimizes and emits each function it compiles, together with all it calls; in a nest of small functions LLVM
would do the same work a dozen times. A part stops at unoptimized IR, and LLVM sees it once, in the entry. It cannot be
called from Python.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

# What a call from Python runs: it raises TypeError.
REFUSE = ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value


class PartLibrary(JITCodeLibrary):  # type: ignore[misc]
    """A module that waits to be linked into an entry's."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> Any:
        return REFUSE

    @property
    def codegen(self) -> Any:
        return SimpleNamespace(set_env=lambda name, environment: None)


@register_pass(mutates_CFG=True, analysis_only=False)
class PartLowering(NativeLowering):  # type: ignore[misc]
    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.flags.no_cpython_wrapper = state.flags.no_cfunc_wrapper = True
        return bool(super().run_pass(state))


class PartCompiler(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        return [with_lowering(self.state, PartLowering)]


class EntryLibrary(JITCodeLibrary):  # type: ignore[misc]
    """An entry's module with all its parts, which the full optimization sees once, and no cheaper one before it.

    Numba's other passes prune reference counts, of which there are none here.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


@register_pass(mutates_CFG=True, analysis_only=False)
class EntryLowering(NativeLowering):  # type: ignore[misc]
    _name = "entry_lowering"

    def run_pass(self, state: Any) -> bool:
        state.library = EntryLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


class EntryCompiler(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        return [with_lowering(self.state, EntryLowering)]


def with_lowering(state: Any, lowering: type) -> Any:
    """Numba's pipeline with another last step."""
    pipeline = DefaultPassBuilder.define_nopython_pipeline(state)
    pipeline.passes[:] = [(lowering if step is NativeLowering else step, why) for step, why in pipeline.passes]
    pipeline.finalize()
    return pipeline

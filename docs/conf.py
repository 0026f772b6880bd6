"""The documentation site: ``python -m sphinx -W -b html docs docs/_build``, with ``pip install -e ".[docs]"``."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]
os.environ.setdefault("MPLBACKEND", "Agg")

import fastbp  # noqa: E402  (from this repository)

project = "fastbp"
copyright = "fastbp developers, BSD 3-Clause"
version = release = fastbp.__version__

extensions = [
    "generated",
    "mathematics",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
]
exclude_patterns = ["_build", "_ext", "jupyter_execute"]
default_role = "py:obj"
highlight_language = "text"

# pages
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # the tests execute the notebooks; their stored output is shown

# docstrings
autosummary_generate = False
autodoc_inherit_docstrings = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# appearance
smartquotes = False  # "sgd" is code
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "fastbp"
html_static_path = ["_static"]
html_css_files = ["fastbp.css"]
html_sidebars = {"index": [], "coming-from": []}  # they have no subpages
if not any((HERE.parent / "notebooks").glob("*.ipynb")):
    html_sidebars["tutorial"] = []
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "fastbp"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}

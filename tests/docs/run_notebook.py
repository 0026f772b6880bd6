"""Execute a notebook in a kernel of this Python: ``python run_notebook.py NOTEBOOK RESULT FOLDER``.

FOLDER gets the kernel's working folder, the kernel spec and all of Jupyter's own files.
"""

import json
import os
import sys
from pathlib import Path


def main(notebook: str, result: str, folder: str) -> None:
    """Write the executed notebook to the file `result`; an error in a cell is an error here."""
    own = Path(folder) / "jupyter"
    spec = own / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    os.environ["JUPYTER_PATH"] = str(own)  # searched first, so that the user's kernels are ignored
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        os.environ[name] = str(own / name.lower())
    os.environ.pop("MPLBACKEND", None)  # the kernel chooses the one that draws into the notebook

    import nbclient  # reads these variables
    import nbformat

    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    work = Path(folder) / "work"
    work.mkdir()
    options = {"kernel_name": "python3", "timeout": None, "resources": {"metadata": {"path": str(work)}}}
    nbclient.NotebookClient(book, **options).execute()
    nbformat.write(book, result)


if __name__ == "__main__":
    main(*sys.argv[1:])

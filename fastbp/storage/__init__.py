"""Models and interrupted fits in files and pickles."""

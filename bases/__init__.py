"""One-dimensional bases: one file, one basis, one plugin each."""

if __name__ != "lrlora.bases":
    raise ImportError(f"this folder is the package 'lrlora.bases', not {__name__!r}: import it under its full name")

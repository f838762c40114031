"""What is asked of adapters: declared studies, their runs, their record and their reports."""

if __name__ != "lrlora.studies":
    raise ImportError(f"this folder is the package 'lrlora.studies', not {__name__!r}: import it under its full name")

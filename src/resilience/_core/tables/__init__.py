"""What is known of each library's exceptions: one file a library, loaded on the first exception of it.

Each file has one function, ``verdict(error, wall)``: the exception to a `Verdict`, or None for one it does not know. It
looks at classes by name and at attributes, and never imports the library: the exception is there, so the library is.
"""

"""Pure decisions: values in, values out. No clock, no thread, no disk, no chance, no event loop is reached from here."""

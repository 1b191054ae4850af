"""Published settings, a file per family of methods: tables, and how they are read."""

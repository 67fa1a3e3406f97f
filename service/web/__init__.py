"""HTTP: pages, files, documents and the process that serves them."""

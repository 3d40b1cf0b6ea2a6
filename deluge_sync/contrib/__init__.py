"""Ways to other libraries, each in a module of its own and needing an extra of its own."""

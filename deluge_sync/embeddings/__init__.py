"""The engine of embeddings: texts read and packed, packs sent, vectors put in their places."""

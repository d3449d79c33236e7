"""The only floor that reads time, chance and the ambient, that waits, and that knows asyncio from trio."""

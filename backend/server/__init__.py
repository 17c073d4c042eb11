"""Requests in, answers out: the queue of requests, the channel back, and what an engine must offer."""

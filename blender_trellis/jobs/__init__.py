"""Jobs from request to result, and the session that holds them."""

"""How far the job is that runs, wherever one looks."""

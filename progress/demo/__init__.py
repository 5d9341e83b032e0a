"""The demo: it loads a real learner's record through the whole stack and shows the result."""

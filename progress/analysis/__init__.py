"""Questions across learners, answered from the archive, as tables and charts."""

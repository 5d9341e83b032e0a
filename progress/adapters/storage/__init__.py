"""Files in a folder or in a Cloud Storage bucket."""

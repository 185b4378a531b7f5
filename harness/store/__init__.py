"""What happened, in MLflow: the only importer of mlflow, and the only reader of what it stored."""

"""Training in the pods of a Kubeflow TrainJob."""

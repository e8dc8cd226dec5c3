"""One model, without a workflow: what the command line and Python call; the stages are those of the DAG."""

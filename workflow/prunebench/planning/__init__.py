"""What a study will take, before anything is downloaded: jobs, time, memory, disk, and what must be fetched."""

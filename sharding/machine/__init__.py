"""Services of the operating system: processes, threads, memory, signals, files, locks.

    processes   run jobs in worker processes; results in order, or as they come
    pool        worker processes that end with this one, and whose end it never waits for without a limit
    worker      the program of a worker process
    threads     fetcher threads that do not delay the end of a process
    heap        settings of glibc's malloc, for this process and for those it starts
    signals     SIGINT and SIGTERM, as exceptions or held back for a moment
    files       write a file whole or not at all
    scratch     temporary folders; those of killed processes are removed by later ones
    regular     read files that are files: no FIFO, device or socket, and none that is too large
    locks       advisory locks on files, never waited for

No module here knows of data sets.
"""

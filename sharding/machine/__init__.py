"""Services of the operating system: processes, threads, memory, signals, files, locks.

    processes   run jobs in worker processes that end with this one; results in order, or as they come
    threads     fetcher threads that do not delay the end of a process
    heap        settings of glibc's malloc, for this process and for those it starts
    signals     block SIGINT for a moment
    files       write a file whole or not at all
    locks       advisory locks on files, never waited for

No module here knows of data sets.
"""

# SPDX-License-Identifier: MIT
"""What bench/run is made of. From the ground up:

    proc    processes: start, time, watch, clean up
    stats   figures, ratios and their spread
    data    generated trees and the scripts that runs execute
    ours    a throw-away amlagentd and its API
    peers   task-spooler and Slurm, each a throw-away server
    rows    one function for each figure of the table
    report  Markdown and JSON
"""

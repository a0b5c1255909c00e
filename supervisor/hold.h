/* SPDX-License-Identifier: MIT */
/*
 * hold - amlagent-supervisor --hold: keep the place for the cgroups of runs
 *
 * systemd removes a service's cgroup, and kills what is in it, with the service. So that runs outlive
 * amlagentd.service they have theirs below another one, amlagent-runs.service (Delegate=yes), whose
 * only process is this: it moves itself into a cgroup of its own there (CGROUP_HOLDER_NAME), since
 * one that holds processes cannot give controllers to those below it, switches the controllers on,
 * tells systemd that it is ready, and sleeps until it is killed.
 *
 * Exit status: 1 when it is in no cgroup of its own or may not make one there. Controllers that are
 * not to be had are no fault: runs say in their records what was not enforced.
 */
#pragma once

int hold(void);

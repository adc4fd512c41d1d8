# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The versions of systemd that know a directive of a service. Pure.

An older systemd ignores an unknown directive and only logs it, so a run says it. The versions are those of the manual
pages systemd.exec, systemd.service, systemd.unit, systemd.kill and systemd.resource-control of systemd 262.
"""

from __future__ import annotations

from collections.abc import Iterable

# The oldest supported version, the one of Debian 11. It knows all directives that are not in the table.
OLDEST = 247

BY_VERSION = {
    248: "ConditionCPUFeature ExtensionImages IPCNamespacePath ManagedOOMPreference PrivateIPC NoExecPaths ExecPaths",
    249: "BPFProgram ConditionFirmware ConditionOSRelease OnSuccess PropagatesStopTo SocketBindAllow SocketBindDeny "
    "StopPropagatedFrom Upholds",
    250: "ConditionCPUPressure ConditionIOPressure ConditionMemoryPressure ExecSearchPath ExitType RestrictFileSystems "
    "RestrictNetworkInterfaces RuntimeRandomizedExtraSec TTYColumns TTYRows",
    251: "ExtensionDirectories",
    252: "ConditionCredential",
    253: "LogFilterPatterns MemoryZSwapMax OpenFile ReloadSignal StartupMemoryZSwapMax",
    254: "DelegateSubgroup ExtensionImagePolicy FileDescriptorStorePreserve ImportCredential MemoryKSM "
    "MemoryPressureThresholdSec MemoryPressureWatch MountImagePolicy RestartMaxDelaySec RestartMode RestartSteps "
    "RootEphemeral RootImagePolicy",
    255: "CoredumpReceive NFTSet SetLoginEnvironment SurviveFinalKillSignal",
    256: "MemoryZSwapWriteback WantsMountsFor",
    257: "BindLogSockets ManagedOOMMemoryPressureDurationSec PrivatePIDs",
    258: "BPFDelegateAttachments BPFDelegateCommands BPFDelegateMaps BPFDelegatePrograms CacheDirectoryAccounting "
    "CacheDirectoryQuota ConditionKernelModuleLoaded ConditionVersion DelegateNamespaces LogsDirectoryAccounting "
    "LogsDirectoryQuota PrivateBPF StateDirectoryAccounting StateDirectoryQuota",
    259: "ExecReloadPost UserNamespacePath",
    260: "BindNetworkInterface ConditionPathIsSocket MemoryTHP RefreshOnReload RootMStack",
    261: "CPUPressureThresholdSec CPUPressureWatch CPUSetPartition ConditionFraction ConditionMachineTag "
    "IOPressureThresholdSec IOPressureWatch OOMRules",
    262: "LUOSession RestartRandomizedDelaySec",
}
SINCE = {name: version for version, names in BY_VERSION.items() for name in names.split()}


def unknown(directives: Iterable[str], version: int) -> list[tuple[str, int]]:
    """The directives that this version ignores, each with the version that has it first. None for version 0."""
    return [(name, since) for name in directives if version and (since := SINCE.get(str(name), 0)) > version]

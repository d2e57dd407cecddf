// The profiles that a remedy names (daemonset/overlays, daemonset/components).
export const FULL = 'Deploy the profile `full` (daemonset/overlays/full)'
export const HOSTS_COMPONENT = 'Add the component daemonset/components/hosts-file (chart: hostsFile: true)'
export const BUILDERS = 'Add the component daemonset/components/builders'

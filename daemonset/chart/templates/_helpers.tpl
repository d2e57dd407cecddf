{{/* The chart's name, for app.kubernetes.io/name: alerts and dashboards look for "registry-trust". */}}
{{- define "registry-trust.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the objects: 46 characters, so that the longest suffix still fits into 63. */}}
{{- define "registry-trust.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 46 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 46 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* The name of objects that belong to no namespace. */}}
{{- define "registry-trust.clusterName" -}}
{{- $name := include "registry-trust.fullname" . }}
{{- if eq $name .Release.Namespace }}{{ $name }}{{ else }}{{ printf "%s-%s" .Release.Namespace $name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "registry-trust.selectorLabels" -}}
app.kubernetes.io/name: {{ include "registry-trust.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "registry-trust.labels" -}}
{{ include "registry-trust.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "registry-trust.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}
{{- else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end }}
{{- end }}
{{- end }}

{{- define "registry-trust.configMap" -}}
{{- default (include "registry-trust.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{- define "registry-trust.credentials" -}}
{{- default (printf "%s-credentials" (include "registry-trust.fullname" .)) .Values.credentials.existingSecret }}
{{- end }}

{{- define "registry-trust.http" -}}
{{- default (printf "%s-http" (include "registry-trust.fullname" .)) .Values.http.existingSecret }}
{{- end }}

{{/* What is switched on, as YAML: read it with fromYaml. The only place that knows profiles by name. */}}
{{- define "registry-trust.parts" -}}
{{- $profile := .Values.profile }}
{{- $distribution := .Values.distribution }}
{{- $plain := eq .Values.sidecars "plain" }}
{{- if has $profile (list "k3s" "rke2" "openshift" "crio" "k0s" "microk8s" "rhel" "suse" "flatcar" "cos" "photon") }}
{{- $distribution = $profile }}
{{- $profile = "full" }}
{{- else if eq $profile "plain-sidecars" }}
{{- $plain = true }}
{{- $profile = "full" }}
{{- else if hasPrefix "uninstall-" $profile }}
{{- $distribution = trimPrefix "uninstall-" $profile }}
{{- $profile = "uninstall" }}
{{- end }}
{{- $ranchers := has $distribution (list "k3s" "rke2") }}
{{- $system := .Values.operatingSystem }}
{{- if has $distribution (list "rhel" "suse" "flatcar" "cos" "photon") }}
{{- if and $system (ne $system $distribution) }}
{{- fail (printf "distribution %s and operatingSystem %s exclude each other: leave one of the two empty" $distribution $system) }}
{{- end }}
{{- $system = $distribution }}
{{- end }}
{{- $ofSystem := "" }}
{{- if $system }}{{ $ofSystem = printf "registry-trust.mountsOf.%s" $system }}{{ end }}
{{- $ofContainerd := "" }}
{{- if has $distribution (list "k0s" "microk8s") }}{{ $ofContainerd = printf "registry-trust.mountsOf.%s" $distribution }}{{ end }}
{{- $mounts := list }}
{{- range compact (list $ofSystem $ofContainerd) }}
{{- $mounts = concat $mounts (include . $ | fromYamlArray) }}
{{- end }}
{{- $all := has $profile (list "full" "uninstall") }}
{{- $crio := has $distribution (list "crio" "openshift") }}
{{- $proxy := or $all (eq $profile "hosts-proof") }}
{{- if and $ranchers (not $all) }}
{{- fail (printf "distribution %s is not available with profile %s: use profile full, whose only writes there are host directories and registries.yaml" $distribution $profile) }}
{{- end }}
{{- if has $distribution (list "talos" "bottlerocket") }}
{{- fail (printf "the agent cannot change trust on %s, where only the settings of the machine can: print them with `registry-trust bootstrap --for %s`, and keep these nodes out of the DaemonSet with nodeSelector or affinity" $distribution $distribution) }}
{{- end }}
{{- if and (or $mounts $system) (not $all) }}
{{- fail (printf "%s is not available with profile %s, which writes no more than certs.d: leave distribution and operatingSystem empty, or use profile full" (default $distribution $system) $profile) }}
{{- end }}
{{- if and .Values.distrust (not $all) }}
{{- fail (printf "distrust is not available with profile %s, which does not write the system store: use profile full" $profile) }}
{{- end }}
{{- if and .Values.hostsFile (eq $profile "audit") }}
{{- fail "hostsFile is not available with profile audit, which writes nothing: use profile hosts, hosts-proof or full" }}
{{- end }}
{{- if and $plain (eq $profile "uninstall") }}
{{- fail "sidecars=plain is not available with profile uninstall, which runs before ordinary containers start: keep sidecars=native, or run `registry-trust uninstall` on the nodes" }}
{{- end }}
profile: {{ $profile }}
uninstall: {{ eq $profile "uninstall" }}
writesConfig: {{ and $all (not $crio) }}
writesHosts: {{ ne $profile "audit" }}
proxy: {{ $proxy }}
restarter: {{ and $all (not $crio) }}
crio: {{ $crio }}
editsConfig: {{ not $ofContainerd }}
writesCerts: {{ and $all (not $crio) (not (has $system (list "rhel" "suse"))) }}
writesSources: {{ and $all (not $crio) (not $system) }}
mounts: {{ $mounts | toJson }}
plain: {{ $plain }}
openshift: {{ eq $distribution "openshift" }}
builders: {{ .Values.builders }}
rancher: {{ $ranchers | ternary $distribution "" | quote }}
{{- $runFolder := get (include "registry-trust.runFolders" . | fromYaml) $distribution }}
containerdFolder: {{ $ranchers | ternary (printf "/var/lib/rancher/%s/agent/etc/containerd" $distribution) (or $crio (eq $distribution "microk8s") | ternary "" "/etc/containerd") | quote }}
runFolder: {{ default "/run/containerd" $runFolder }}
containerdAddress: {{ $runFolder | empty | not | ternary (and $crio (not $proxy) | ternary "none" (printf "%s/%s.sock" $runFolder ($crio | ternary "crio" "containerd"))) ($all | ternary "" (eq $profile "hosts-proof" | ternary "" "none")) | quote }}
{{- end }}

{{/* Where a distribution's containerd listens, when it is not /run/containerd. */}}
{{- define "registry-trust.runFolders" -}}
k3s: /run/k3s/containerd
rke2: /run/k3s/containerd
k0s: /run/k0s
microk8s: /var/snap/microk8s/common/run
crio: /run/crio
openshift: /run/crio
{{- end }}

{{/* What the agent sees besides, for each store of certificates and each containerd: without a type it is an empty folder. */}}
{{- define "registry-trust.mountsOf.rhel" -}}
- {name: ca-trust, mountPath: /host/etc/pki/ca-trust, type: Directory}
{{- end }}

{{- define "registry-trust.mountsOf.suse" -}}
- {name: pki-trust, mountPath: /host/etc/pki/trust, type: Directory}
- {name: ca-certificates, mountPath: /host/var/lib/ca-certificates, type: Directory}
{{- end }}

{{- define "registry-trust.mountsOf.photon" -}}
- {name: pki-tls-certs, mountPath: /host/etc/pki/tls/certs, type: Directory}
{{- end }}

{{- define "registry-trust.mountsOf.flatcar" -}}
[]
{{- end }}

{{- define "registry-trust.mountsOf.cos" -}}
[]
{{- end }}

{{- define "registry-trust.mountsOf.k0s" -}}
- {name: etc-k0s, mountPath: /host/etc/k0s, type: Directory, readOnly: true}
- {name: k0s-drop-ins, mountPath: /host/etc/k0s/containerd.d, type: DirectoryOrCreate}
- {name: k0s-bin, mountPath: /host/var/lib/k0s/bin, type: Directory, readOnly: true}
{{- end }}

{{- define "registry-trust.mountsOf.microk8s" -}}
- {name: microk8s-data, mountPath: /host/var/snap/microk8s, type: Directory}
- {name: microk8s-common, mountPath: /host/var/snap/microk8s/common, readOnly: true}
- {name: microk8s-snap, mountPath: /host/snap/microk8s, type: Directory, readOnly: true, mountPropagation: HostToContainer}
{{- end }}

{{/* Refuses what would take trust off the nodes or start nothing, with the remedy. */}}
{{- define "registry-trust.validate" -}}
{{- $uninstall := hasPrefix "uninstall" .Values.profile }}
{{- if and (not .Values.config) (not .Values.existingConfigMap) (not $uninstall) }}
{{- fail "there is no configuration: give trust.yaml with --set-file 'config.trust\\.yaml=trust.yaml', or name a ConfigMap with existingConfigMap. For an upgrade that keeps what was given before, add --reset-then-reuse-values" }}
{{- end }}
{{- if and .Values.config .Values.existingConfigMap }}
{{- fail "config and existingConfigMap exclude each other: the files of config would never be mounted" }}
{{- end }}
{{- if and .Values.config (not (hasKey .Values.config "trust.yaml")) }}
{{- fail "config has no trust.yaml: give it with --set-file 'config.trust\\.yaml=trust.yaml'" }}
{{- end }}
{{- if .Values.checkNamespace }}
{{- $namespace := lookup "v1" "Namespace" "" .Release.Namespace }}
{{- $level := dig "metadata" "labels" "pod-security.kubernetes.io/enforce" "privileged" ($namespace | default dict) }}
{{- if and (ne $level "privileged") (not .Values.createNamespace) }}
{{- fail (printf "the namespace %s enforces the Pod Security level %s, which admits no hostPath volume: kubectl label namespace %s --overwrite pod-security.kubernetes.io/enforce=privileged" .Release.Namespace $level .Release.Namespace) }}
{{- end }}
{{- end }}
{{- end }}

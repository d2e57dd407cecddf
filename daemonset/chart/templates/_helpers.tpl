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
{{- if has $profile (list "k3s" "rke2" "openshift") }}
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
{{- $all := has $profile (list "full" "uninstall") }}
{{- if and $ranchers (not $all) }}
{{- fail (printf "distribution %s is not available with profile %s: use profile full, whose only writes there are host directories and registries.yaml" $distribution $profile) }}
{{- end }}
{{- if and .Values.distrust (not $all) }}
{{- fail (printf "distrust is not available with profile %s, which does not write the system store: use profile full" $profile) }}
{{- end }}
{{- if and $plain (eq $profile "uninstall") }}
{{- fail "sidecars=plain is not available with profile uninstall, which runs before ordinary containers start: keep sidecars=native, or run `registry-trust uninstall` on the nodes" }}
{{- end }}
profile: {{ $profile }}
uninstall: {{ eq $profile "uninstall" }}
writesConfig: {{ $all }}
writesHosts: {{ ne $profile "audit" }}
proxy: {{ or $all (eq $profile "hosts-proof") }}
restarter: {{ $all }}
plain: {{ $plain }}
openshift: {{ eq $distribution "openshift" }}
builders: {{ or .Values.builders (eq $distribution "openshift") }}
rancher: {{ $ranchers | ternary $distribution "" | quote }}
containerdFolder: {{ $ranchers | ternary (printf "/var/lib/rancher/%s/agent/etc/containerd" $distribution) "/etc/containerd" }}
runFolder: {{ $ranchers | ternary "/run/k3s/containerd" "/run/containerd" }}
containerdAddress: {{ $ranchers | ternary "/run/k3s/containerd/containerd.sock" ($all | ternary "" (eq $profile "hosts-proof" | ternary "" "none")) | quote }}
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

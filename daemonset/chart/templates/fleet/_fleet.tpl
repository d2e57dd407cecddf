{{/* What every object of the fleet component carries; its Pods are found by the name alone. */}}
{{- define "registry-trust.fleetLabels" -}}
app.kubernetes.io/name: registry-trust-fleet
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The component knows the ConfigMap, the Lease and the agents' Pods by fixed names in its namespace. */}}
{{- define "registry-trust.fleetCheck" -}}
{{- $names := list (include "registry-trust.fullname" .) (include "registry-trust.name" .) (include "registry-trust.configMap" .) }}
{{- range $names }}
{{- if ne . "registry-trust" }}
{{- fail (printf "fleet.enabled needs objects named registry-trust, not %s: one release in a namespace, without nameOverride, with fullnameOverride=registry-trust and existingConfigMap empty or registry-trust" .) }}
{{- end }}
{{- end }}
{{- end }}

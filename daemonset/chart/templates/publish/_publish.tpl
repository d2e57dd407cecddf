{{/* Namespace -> what `publish` may write there, as YAML: {configMaps: [...], deployments: [...]} */}}
{{- define "registry-trust.publishRights" -}}
{{- $rights := dict }}
{{- $add := list }}
{{- range .Values.publish.configMaps }}
{{- $add = append $add (dict "namespace" .namespace "kind" "configMaps" "name" .name) }}
{{- end }}
{{- range .Values.publish.restart }}
{{- $add = append $add (dict "namespace" .namespace "kind" "deployments" "name" .deployment) }}
{{- end }}
{{- if .Values.publish.tekton }}
{{- $add = append $add (dict "namespace" "tekton-pipelines" "kind" "configMaps" "name" "config-registry-cert") }}
{{- $add = append $add (dict "namespace" "tekton-pipelines" "kind" "deployments" "name" "tekton-pipelines-controller") }}
{{- end }}
{{- range $add }}
{{- $there := default (dict "configMaps" list "deployments" list) (get $rights .namespace) }}
{{- $_ := set $there .kind (append (get $there .kind) .name | uniq) }}
{{- $_ := set $rights .namespace $there }}
{{- end }}
{{- toYaml $rights }}
{{- end }}

{{- define "registry-trust.publishName" -}}
{{ include "registry-trust.fullname" . }}-publish
{{- end }}

{{/* Not those of the agents: no selector of theirs may take this Pod for an agent. */}}
{{- define "registry-trust.publishSelectorLabels" -}}
app.kubernetes.io/name: {{ include "registry-trust.name" . }}-publish
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "registry-trust.publishLabels" -}}
{{ include "registry-trust.publishSelectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

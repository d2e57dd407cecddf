{{- define "registry-trust.agentMounts" -}}
{{- $parts := include "registry-trust.parts" . | fromYaml -}}
- {name: inputs, mountPath: /etc/registry-trust, readOnly: true}
- {name: fleet, mountPath: /etc/registry-trust-fleet, readOnly: true}
{{- if $parts.proxy }}
- {name: sockets, mountPath: /run/registry-trust}
{{- end }}
- {name: run, mountPath: /run}
- {name: usr, mountPath: /host/usr, readOnly: true}
{{- with $parts.containerdFolder }}
- name: etc-containerd
  mountPath: /host{{ . }}
  {{- if not $parts.writesConfig }}
  readOnly: true
  {{- end }}
{{- end }}
{{- if and $parts.writesHosts (not $parts.writesConfig) (not $parts.crio) }}
- {name: certs-d, mountPath: /host/etc/containerd/certs.d}
{{- end }}
- name: etc-ssl-certs
  mountPath: /host/etc/ssl/certs
  {{- if not $parts.writesCerts }}
  readOnly: true
  {{- end }}
{{- if $parts.writesSources }}
- {name: local-ca-certificates, mountPath: /host/usr/local/share/ca-certificates}
{{- end }}
{{- range $parts.mounts }}
- {{ pick . "name" "mountPath" "readOnly" "mountPropagation" | toYaml | nindent 2 | trim }}
{{- end }}
- {name: state, mountPath: /host/var/lib/registry-trust}
# Names are resolved as on the node: the resolver's part is dnsPolicy Default.
- {name: etc-hosts, mountPath: /etc/hosts, readOnly: true}
{{- if .Values.hostsFile }}
# The file alone, and not /etc: it is written in place, so that the Pod's own /etc/hosts shows it too.
- {name: etc-hosts, mountPath: /host/etc/hosts}
{{- end }}
{{- with $parts.rancher }}
- {name: {{ . }}-data, mountPath: /host/var/lib/rancher/{{ . }}/data, readOnly: true}
- {name: etc-rancher, mountPath: /host/etc/rancher/{{ . }}}
{{- end }}
{{- if $parts.builders }}
- {name: etc-docker, mountPath: /host/etc/docker}
{{- end }}
{{- if or $parts.crio $parts.builders }}
- name: etc-containers
  mountPath: /host/etc/containers
  {{- if not (or $parts.writesHosts $parts.builders) }}
  readOnly: true
  {{- end }}
{{- end }}
{{- if $parts.crio }}
# Whether CRI-O reads registries.conf.d again by itself.
- {name: etc-crio, mountPath: /host/etc/crio, readOnly: true}
{{- end }}
{{- if .Values.distrust }}
# The folder and not the file: a mounted file cannot be replaced, only written in place.
- {name: etc, mountPath: /host/etc}
{{- end }}
{{- end }}

{{/* Certificates from elsewhere, beside the files of the ConfigMap. */}}
{{- define "registry-trust.certificateSources" -}}
{{- range .Values.trustManager }}
- configMap:
    name: {{ .configMap }}
    {{- if .optional }}
    optional: true
    {{- end }}
    items:
      - {key: {{ .key | quote }}, path: {{ .path | quote }}}
{{- end }}
{{- range .Values.certificateSecrets }}
- secret:
    name: {{ .secret }}
    {{- if .optional }}
    optional: true
    {{- end }}
    items:
      - {key: {{ .key | quote }}, path: {{ .path | quote }}}
{{- end }}
{{- range .Values.clusterTrustBundles }}
- clusterTrustBundle:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}

{{- define "registry-trust.configSource" -}}
{{- $parts := include "registry-trust.parts" . | fromYaml -}}
name: {{ include "registry-trust.configMap" . }}
{{- if $parts.uninstall }}
optional: true
{{- end }}
{{- end }}

{{- define "registry-trust.volumes" -}}
{{- $parts := include "registry-trust.parts" . | fromYaml -}}
{{- $certificates := include "registry-trust.certificateSources" . -}}
- name: config
  {{- if $certificates }}
  projected:
    sources:
      - configMap:
          {{- include "registry-trust.configSource" . | nindent 10 }}
      {{- $certificates | nindent 6 }}
  {{- else }}
  configMap:
    {{- include "registry-trust.configSource" . | nindent 4 }}
  {{- end }}
# The same for the agent, with the passwords and keys of an optional Secret beside it, in one flat folder.
- name: inputs
  projected:
    sources:
      - configMap:
          {{- include "registry-trust.configSource" . | nindent 10 }}
      - secret:
          name: {{ include "registry-trust.credentials" . }}
          optional: true
      # The bearer token for POST, and a certificate to serve with.
      - secret:
          name: {{ include "registry-trust.http" . }}
          optional: true
          items:
            - {key: token, path: http-token}
            - {key: tls.crt, path: http-tls.crt}
            - {key: tls.key, path: http-tls.key}
      {{- $certificates | nindent 6 }}
# What the fleet component tells this Pod, beside the names of the ConfigMap's keys. Empty without one.
- name: fleet
  projected:
    sources:
      - configMap:
          {{- include "registry-trust.configSource" . | nindent 10 }}
      - downwardAPI:
          items:
            - path: registry-trust.io/fleet
              fieldRef:
                fieldPath: metadata.annotations['registry-trust.io/fleet']
{{- if $parts.proxy }}
- name: sockets
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end }}
- name: run
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
- name: usr
  hostPath: {path: /usr, type: Directory}
{{- with $parts.containerdFolder }}
- name: etc-containerd
  hostPath:
    path: {{ . }}
    type: {{ $parts.rancher | empty | ternary "DirectoryOrCreate" "Directory" }}
{{- end }}
{{- if and $parts.writesHosts (not $parts.writesConfig) (not $parts.crio) }}
- name: certs-d
  hostPath: {path: /etc/containerd/certs.d, type: DirectoryOrCreate}
{{- end }}
- name: etc-ssl-certs
  hostPath: {path: /etc/ssl/certs, type: Directory}
{{- if $parts.writesSources }}
- name: local-ca-certificates
  hostPath: {path: /usr/local/share/ca-certificates, type: DirectoryOrCreate}
{{- end }}
{{- range $parts.mounts }}
- name: {{ .name }}
  {{- if .type }}
  hostPath: {path: {{ trimPrefix "/host" .mountPath }}, type: {{ .type }}}
  {{- else }}
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
  {{- end }}
{{- end }}
- name: state
  hostPath: {path: /var/lib/registry-trust, type: DirectoryOrCreate}
- name: etc-hosts
  hostPath: {path: /etc/hosts, type: File}
{{- if $parts.proxy }}
- name: {{ $parts.crio | ternary "run-crio" "run-containerd" }}
  hostPath: {path: {{ $parts.runFolder }}, type: Directory}
{{- end }}
{{- if $parts.restarter }}
- name: run-dbus
  hostPath: {path: /run/dbus, type: Directory}
{{- end }}
{{- with $parts.rancher }}
# containerd's own binary, for the rehearsal.
- name: {{ . }}-data
  hostPath: {path: /var/lib/rancher/{{ . }}/data, type: Directory}
# registries.yaml, from which each start makes the host directories anew, and the CA files that it names.
- name: etc-rancher
  hostPath: {path: /etc/rancher/{{ . }}, type: DirectoryOrCreate}
{{- end }}
{{- if $parts.builders }}
- name: etc-docker
  hostPath: {path: /etc/docker, type: DirectoryOrCreate}
{{- end }}
{{- if or $parts.crio $parts.builders }}
- name: etc-containers
  hostPath: {path: /etc/containers, type: {{ $parts.crio | ternary "Directory" "DirectoryOrCreate" }}}
{{- end }}
{{- if $parts.crio }}
- name: etc-crio
  hostPath: {path: /etc/crio, type: DirectoryOrCreate}
{{- end }}
{{- if .Values.distrust }}
- name: etc
  hostPath: {path: /etc, type: Directory}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

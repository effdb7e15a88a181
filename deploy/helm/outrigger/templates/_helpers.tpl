{{- define "outrigger.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "outrigger.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "outrigger.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "outrigger.selectorLabels" -}}
app.kubernetes.io/name: {{ include "outrigger.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "outrigger.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "outrigger.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "outrigger.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "outrigger.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "outrigger.image" -}}
{{- printf "%s:%s" .Values.image.repository (default (printf "v%s" .Chart.AppVersion) .Values.image.tag) }}
{{- end }}

{{/* The name that kube-apiserver asks for. */}}
{{- define "outrigger.host" -}}
{{- printf "%s.%s.svc" (include "outrigger.fullname" .) (include "outrigger.namespace" .) }}
{{- end }}

{{/* Who binds: the subject of every binding. */}}
{{- define "outrigger.subjects" -}}
- kind: ServiceAccount
  name: {{ include "outrigger.serviceAccountName" . }}
  namespace: {{ include "outrigger.namespace" . }}
{{- end }}

{{/* yes if the host keeps an authority of its own. */}}
{{- define "outrigger.ownAuthority" -}}
{{- if has .Values.tls.type (list "outrigger" "metrics-server") }}yes{{ end }}
{{- end }}

{{/* The Secret of the serving certificate, unless the host makes its own. */}}
{{- define "outrigger.tlsSecret" -}}
{{- if eq .Values.tls.type "existingSecret" }}
{{- required "tls.existingSecret.name is needed with tls.type existingSecret" .Values.tls.existingSecret.name }}
{{- else }}
{{- printf "%s-tls" (include "outrigger.fullname" .) }}
{{- end }}
{{- end }}

{{/* The APIServices, as a JSON list of {name, group, version, groupPriorityMinimum, versionPriority, annotations}. */}}
{{- define "outrigger.apiServices" -}}
{{- $all := list }}
{{- if .Values.apiService.create }}
{{- range $version := list "v1" "v1beta1" }}
{{- $all = append $all (dict "name" (printf "%s.metrics.k8s.io" $version) "group" "metrics.k8s.io" "version" $version "groupPriorityMinimum" 100 "versionPriority" 100 "annotations" $.Values.apiService.annotations) }}
{{- end }}
{{- end }}
{{- range $api := .Values.apiServices }}
{{- range $version := $api.versions }}
{{- $all = append $all (dict "name" (printf "%s.%s" $version $api.group) "group" $api.group "version" $version "groupPriorityMinimum" (default 1000 $api.groupPriorityMinimum) "versionPriority" (default 15 $api.versionPriority) "annotations" (default dict $api.annotations)) }}
{{- end }}
{{- end }}
{{- toJson $all }}
{{- end }}

{{/* What the plugins' grants want of RBAC, as JSON: kubelet, users (plugins), accounts and secrets (namespace/name). */}}
{{- define "outrigger.wanted" -}}
{{- $kubelet := false }}
{{- $users := list }}
{{- $accounts := list }}
{{- $secrets := list }}
{{- range $plugin, $grant := .Values.grants }}
{{- $capabilities := default dict $grant.capabilities }}
{{- if hasKey $capabilities "kubelet" }}{{ $kubelet = true }}{{ end }}
{{- range (default dict $capabilities.secrets) }}
{{- with .secret }}
{{- $secrets = append $secrets (printf "%s/%s" .namespace .name) }}
{{- end }}
{{- end }}
{{- if or (hasKey $capabilities "objects") (hasKey $capabilities "events") }}
{{- with dig "identity" "serviceAccount" "" $grant }}
{{- $accounts = append $accounts . }}
{{- else }}
{{- if eq $plugin "*" }}
{{- fail "grants: name the plugins that are granted objects or events; RBAC knows no user *" }}
{{- end }}
{{- $users = append $users (printf "outrigger:plugin:%s" $plugin) }}
{{- end }}
{{- end }}
{{- end }}
{{- dict "kubelet" $kubelet "users" $users "accounts" (uniq $accounts) "secrets" (uniq $secrets) | toJson }}
{{- end }}

{{/* Not empty where several replicas divide the work between them. */}}
{{- define "outrigger.shares" -}}
{{- if and .Values.shareCollection (gt (int .Values.replicas) 1) }}true{{ end }}
{{- end }}

// Reads discovery and OpenAPI documents with upstream's own code, in protobuf and in JSON, and says where the two differ.
//
//	documents KIND FILE.json FILE.pb [KIND FILE.json FILE.pb ...]
//
// KIND is v2, v3 (OpenAPI) or discovery. Each pair is one document in its two forms. What is compared is what Go's types hold
// after reading, not bytes. The OpenAPI documents also pass the parsers that kubectl and kube-apiserver run over them.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	apidiscovery "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	models "k8s.io/kube-openapi/pkg/util/proto"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

func main() {
	arguments := os.Args[1:]
	if len(arguments) == 0 || len(arguments)%3 != 0 {
		fmt.Fprintln(os.Stderr, "usage: documents KIND FILE.json FILE.pb [...]")
		os.Exit(2)
	}
	failed := false
	for i := 0; i < len(arguments); i += 3 {
		kind, name := arguments[i], arguments[i+1]
		text, err := os.ReadFile(name)
		check(err)
		binary, err := os.ReadFile(arguments[i+2])
		check(err)
		if err := compare(kind, text, binary); err != nil {
			failed = true
			fmt.Printf("%s %s: %v\n", kind, name, err)
		}
	}
	if failed {
		os.Exit(1)
	}
	fmt.Printf("%d documents are the same in both forms\n", len(arguments)/3)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func compare(kind string, text, binary []byte) error {
	switch kind {
	case "v2":
		return compareV2(text, binary)
	case "v3":
		return compareV3(text, binary)
	case "discovery":
		return compareDiscovery(text, binary)
	}
	return fmt.Errorf("no such kind")
}

func compareV2(text, binary []byte) error {
	var ours openapi_v2.Document
	if err := proto.Unmarshal(binary, &ours); err != nil {
		return fmt.Errorf("no openapi.v2.Document: %w", err)
	}
	theirs, err := openapi_v2.ParseDocument(text)
	if err != nil {
		return fmt.Errorf("gnostic cannot read the JSON: %w", err)
	}
	// kubectl's models, of our protobuf.
	if _, err := models.NewOpenAPIData(&ours); err != nil {
		return fmt.Errorf("kubectl's parser: %w", err)
	}
	// What kube-apiserver does after merging: its own types, its own JSON, its own protobuf.
	var swagger spec.Swagger
	if err := swagger.UnmarshalJSON(text); err != nil {
		return fmt.Errorf("kube-apiserver's parser: %w", err)
	}
	merged, err := swagger.MarshalJSON()
	if err != nil {
		return err
	}
	if _, err := handler.ToProtoBinary(merged); err != nil {
		return fmt.Errorf("kube-apiserver's protobuf: %w", err)
	}
	return same(&ours, theirs)
}

func compareV3(text, binary []byte) error {
	var ours openapi_v3.Document
	if err := proto.Unmarshal(binary, &ours); err != nil {
		return fmt.Errorf("no openapi.v3.Document: %w", err)
	}
	theirs, err := openapi_v3.ParseDocument(text)
	if err != nil {
		return fmt.Errorf("gnostic cannot read the JSON: %w", err)
	}
	if _, err := models.NewOpenAPIV3Data(&ours); err != nil {
		return fmt.Errorf("kubectl's parser: %w", err)
	}
	var document spec3.OpenAPI
	if err := json.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("client-go's parser: %w", err)
	}
	again, err := json.Marshal(&document)
	if err != nil {
		return err
	}
	if _, err := handler3.ToV3ProtoBinary(again); err != nil {
		return fmt.Errorf("kube-openapi's protobuf: %w", err)
	}
	return same(&ours, theirs)
}

// same compares two documents; of values that gnostic keeps as YAML what they mean.
func same(ours, theirs proto.Message) error {
	for _, document := range []proto.Message{ours, theirs} {
		if err := canonical(document.ProtoReflect()); err != nil {
			return err
		}
	}
	if proto.Equal(ours, theirs) {
		return nil
	}
	options := prototext.MarshalOptions{Multiline: true, Indent: " "}
	a, b := strings.Split(options.Format(ours), "\n"), strings.Split(options.Format(theirs), "\n")
	for i := 0; i < len(a) && i < len(b); i++ {
		// prototext puts a space here or there on purpose, so that nobody compares its bytes.
		if strings.Join(strings.Fields(a[i]), " ") != strings.Join(strings.Fields(b[i]), " ") {
			from := max(0, i-12)
			return fmt.Errorf("differ\n%s\nours:    %s\ntheirs:  %s", strings.Join(a[from:i], "\n"), a[i], b[i])
		}
	}
	return fmt.Errorf("differ in length: %d and %d lines", len(a), len(b))
}

func canonical(message protoreflect.Message) (err error) {
	if message.Descriptor().Name() == "Any" {
		field := message.Descriptor().Fields().ByName("yaml")
		var value any
		if err := yaml.Unmarshal([]byte(message.Get(field).String()), &value); err != nil {
			return fmt.Errorf("not YAML: %q: %w", message.Get(field).String(), err)
		}
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		message.Set(field, protoreflect.ValueOfString(string(text)))
		return nil
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := 0; i < value.List().Len() && err == nil; i++ {
				err = canonical(value.List().Get(i).Message())
			}
		default:
			err = canonical(value.Message())
		}
		return err == nil
	})
	return err
}

// object is a type that both of upstream's codecs can fill.
type object interface {
	runtime.Object
	Unmarshal([]byte) error
}

func compareDiscovery(text, binary []byte) error {
	raw, found := bytes.CutPrefix(binary, []byte("k8s\x00"))
	if !found {
		return fmt.Errorf("does not start with k8s\\0")
	}
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(raw); err != nil {
		return fmt.Errorf("no runtime.Unknown: %w", err)
	}
	anew := func() (object, error) {
		switch unknown.Kind {
		case "APIVersions":
			return &metav1.APIVersions{}, nil
		case "APIGroupList":
			return &metav1.APIGroupList{}, nil
		case "APIGroup":
			return &metav1.APIGroup{}, nil
		case "APIResourceList":
			return &metav1.APIResourceList{}, nil
		case "APIGroupDiscoveryList":
			return &apidiscovery.APIGroupDiscoveryList{}, nil
		}
		return nil, fmt.Errorf("kind %q is none of discovery's", unknown.Kind)
	}
	ours, err := anew()
	if err != nil {
		return err
	}
	if err := ours.Unmarshal(unknown.Raw); err != nil {
		return fmt.Errorf("no %s: %w", unknown.Kind, err)
	}
	theirs, _ := anew()
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(theirs); err != nil {
		return fmt.Errorf("the JSON: %w", err)
	}
	gvk := theirs.GetObjectKind().GroupVersionKind()
	if version, kind := gvk.ToAPIVersionAndKind(); version != unknown.APIVersion || kind != unknown.Kind {
		return fmt.Errorf("the envelope says %s %s, the JSON %s %s", unknown.APIVersion, unknown.Kind, version, kind)
	}
	ours.GetObjectKind().SetGroupVersionKind(gvk)
	if !equality.Semantic.DeepEqual(ours, theirs) {
		a, _ := json.Marshal(ours)
		b, _ := json.Marshal(theirs)
		return fmt.Errorf("differ\nours:   %s\ntheirs: %s", a, b)
	}
	return nil
}

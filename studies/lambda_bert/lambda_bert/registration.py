"""Makes LambdaBERT known to transformers' auto classes; importing any of its classes from the package does."""

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining

from lambda_bert.configuration_lambdabert import LambdaBertConfig
from lambda_bert.modeling_lambdabert import LambdaBertForMaskedLM, LambdaBertForPreTraining, LambdaBertModel

AutoConfig.register(LambdaBertConfig.model_type, LambdaBertConfig, exist_ok=True)
AutoModel.register(LambdaBertConfig, LambdaBertModel, exist_ok=True)
AutoModelForMaskedLM.register(LambdaBertConfig, LambdaBertForMaskedLM, exist_ok=True)
AutoModelForPreTraining.register(LambdaBertConfig, LambdaBertForPreTraining, exist_ok=True)

__all__ = ["LambdaBertConfig", "LambdaBertForMaskedLM", "LambdaBertForPreTraining", "LambdaBertModel"]
